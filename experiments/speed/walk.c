/*
 * The aging walk of zswap_gym/kernel/mglru.py:_walk_in_memory_order, with examine(), access.look() for
 * pages whose accesses come by rate, and rng.uniform(): what a step of bench-mix does most, translated
 * line by line. Only for `zswap-gym bench`, to see what the compiled Python costs against C.
 * layout.h is made from the numpy records by agents/bench/translation.py.
 */
#include <math.h>
#include <stdint.h>
#include "layout.h"

#define ROOM 64 /* of State.scratch */

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
	if (u >= x)
		return 0;
	double two = x - 0.5 * x * x;

	if ((u < two) | (u * (1.0 + x) < x))
		return 1;
	return u < two + x * x * x * (1.0 / 6.0) && u < -expm1(-x);
}

static int look(struct PAGE *page, struct REGION *regions, int64_t t0, int64_t t1, int dirty,
		const int64_t *time, const double *mult, const double *upto)
{
	struct REGION *r = &regions[page->region];

	if (t1 <= t0 || page->rate <= 0.0f)
		return 0;
	double x = page->rate * (integral(r, t1, 1, time, mult, upto) - integral(r, t0, 0, time, mult, upto));
	double u = uniform();

	if (!below_exp(u, x))
		return 0;
	return !dirty && below_exp(u, x * r->write_share) ? 3 : 1;
}

/* True if the page's accessed bit is set. Clears it; ORs the dirty bit in. */
static int examine(struct PAGE *page, struct REGION *regions, int64_t last_walk, int64_t now,
		   const int64_t *time, const double *mult, const double *upto)
{
	int accessed = ((page->flags & F_YOUNG) != 0) & (page->when >= last_walk);
	int dirty = (page->flags & F_DIRTY) != 0;
	int64_t since = page->when;

	if (last_walk > since) {
		if (!dirty)
			dirty = (look(page, regions, since, last_walk, 0, time, mult, upto) & 2) != 0;
		since = last_walk;
	}
	int seen = look(page, regions, since, now, dirty, time, mult, upto);

	page->flags = (page->flags & ~F_YOUNG) | (dirty | ((seen & 2) != 0)) * F_DIRTY;
	page->when = now;
	return accessed | (seen & 1);
}

/* Returns how many pages were looked at; seed goes in and comes out. */
int64_t walk(struct PAGE *pages, uint8_t *gen, struct REGION *regions, int64_t *gen_count, const int64_t *time,
	     const double *mult, const double *upto, int64_t first, int64_t n, int64_t max_seq, int64_t last_walk,
	     int64_t now, uint64_t *seed)
{
	int young = max_seq & 3;
	int64_t looks = 0;

	rng = *seed;
	for (int64_t start = first; start < first + n; start += ROOM) {
		int64_t end = start + ROOM < first + n ? start + ROOM : first + n;
		int32_t scratch[ROOM];
		int found = 0;

		for (int64_t p = start; p < end; p++) {
			scratch[found] = p;
			found += (gen[p] < UNMAPPED) & (gen[p] != young);
		}
		looks += found;
		for (int i = 0; i < found; i++) {
			int32_t p = scratch[i];

			if (!examine(&pages[p], regions, last_walk, now, time, mult, upto))
				continue;
			gen_count[gen[p] & 3]--;
			gen[p] = (gen[p] & UNMAPPED) | young;
			gen_count[young]++;
			pages[p].flags &= ~F_FULLREF;
		}
	}
	*seed = rng;
	return looks;
}
