package schema

import "strings"

// Nearest finds the name within the given number of edits that needs the fewest, the first of equals;
// "" when there is none. Case is no difference.
func Nearest(name string, names []string, within int) string {
	best, found := within+1, ""
	name = strings.ToLower(name)
	for _, n := range names {
		if d := edits(name, strings.ToLower(n), best); d < best {
			best, found = d, n
		}
	}
	return found
}

// edits counts the insertions, deletions and replacements between a and b; it gives up at limit.
func edits(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, low := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
			low = min(low, cost)
		}
		if low >= limit {
			return limit
		}
	}
	return row[len(b)]
}
