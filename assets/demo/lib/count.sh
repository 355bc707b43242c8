# The number of lines, without the blanks that some wc programs print before it.
wc -l | tr -d '[:blank:]'
