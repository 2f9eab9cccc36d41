"""`mrunfold bench peers`: posterior samplers of other groups, with the prior that ships, against ours."""
