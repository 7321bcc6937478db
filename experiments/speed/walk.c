/*
 * The aging walk of zswap_gym/kernel/mglru.py:_walk in memory order, with examine(), access.look() for
 * pages whose accesses come by rate, and rng.uniform(): what a step of bench-mix does most, translated
 * line by line. Only for `zswap-gym bench`, to see what the compiled Python costs against C.
 * layout.h is made from the numpy records by agents/bench/translation.py.
 */
#include <math.h>
#include <stdint.h>
#include "layout.h"

static uint64_t rng;

static double uniform(void)
{
	uint64_t z = rng += 0x9E3779B97F4A7C15ull;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
	z ^= z >> 31;
	return (z >> 11) * (1.0 / (1ull << 53));
}

static double integral(struct REGION *r, int64_t t, int end, const int64_t *time, const double *mult,
		       const double *upto)
{
	if (r->asked[end] != t) {
		int64_t i = r->seg_hint, last = r->seg_start + r->seg_count;

		if (!(time[i] <= t && (i + 1 == last || t < time[i + 1]))) {
			int64_t a = r->seg_start, b = last;

			while (b - a > 1) {
				int64_t mid = (a + b) >> 1;

				if (time[mid] <= t)
					a = mid;
				else
					b = mid;
			}
			if (a > i)
				r->seg_hint = a;
			i = a;
		}
		r->answer[end] = upto[i] + (t - time[i]) * 1e-6 * mult[i];
		r->asked[end] = t;
	}
	return r->answer[end];
}

static int below_exp(double u, double x)
{
	return u < x && (u * (1.0 + x) < x || u < -expm1(-x));
}

static int look(struct PAGE *page, struct REGION *regions, int64_t t0, int64_t t1, const int64_t *time,
		const double *mult, const double *upto)
{
	struct REGION *r = &regions[page->region];

	if (t1 <= t0 || page->rate <= 0.0f)
		return 0;
	double x = page->rate * (integral(r, t1, 1, time, mult, upto) - integral(r, t0, 0, time, mult, upto));
	double u = uniform();

	if (!below_exp(u, x))
		return 0;
	return below_exp(u, x * r->write_share) ? 3 : 1;
}

/* Returns how many pages were looked at; seed goes in and comes out. */
int64_t walk(struct PAGE *pages, uint8_t *gen, struct REGION *regions, int64_t *gen_count, const int64_t *time,
	     const double *mult, const double *upto, int64_t first, int64_t n, int64_t max_seq, int64_t last_walk,
	     int64_t now, uint64_t *seed)
{
	int young = max_seq & 3;
	int64_t looks = 0;

	rng = *seed;
	for (int64_t p = first; p < first + n; p++) {
		uint8_t tag = gen[p];

		if (tag >= UNMAPPED || tag == young)
			continue;
		struct PAGE *page = &pages[p];
		int accessed = page->flags & F_YOUNG && page->when >= last_walk;
		int64_t since = page->when;

		looks++;
		if (last_walk > since) {
			if (!(page->flags & F_DIRTY) && look(page, regions, since, last_walk, time, mult, upto) & 2)
				page->flags |= F_DIRTY;
			since = last_walk;
		}
		int seen = look(page, regions, since, now, time, mult, upto);

		if (seen & 2)
			page->flags |= F_DIRTY;
		page->flags &= ~F_YOUNG;
		page->when = now;
		if (accessed || seen & 1) {
			gen_count[gen[p] & 3]--;
			gen[p] = (gen[p] & UNMAPPED) | young;
			gen_count[young]++;
			page->flags &= ~F_FULLREF;
		}
	}
	*seed = rng;
	return looks;
}
