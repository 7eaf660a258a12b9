"""What a run tells its user: the survey, the final table, the files of a run, sums over runs."""
