"""Small faults that tests have to notice: ``make mutants`` puts them in one by one."""
