"""Every cgroup a learner: training, the choice of a champion, and what a run leaves behind."""
