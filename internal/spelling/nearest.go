// Package spelling finds the word that a misspelt one was probably meant to be.
package spelling

// tooFar is the number of edits from which on a word is no longer taken for a slip.
const tooFar = 3

// Nearest is the first of the candidates with the fewest edits from word: at most two, and fewer than the candidate has
// letters; empty when there is none.
func Nearest(word string, candidates []string) string {
	best, dist := "", tooFar
	for _, c := range candidates {
		if d := Distance(word, c); d < dist && d < len(c) {
			best, dist = c, d
		}
	}
	return best
}

// Distance is the number of insertions, deletions and replacements of bytes that turn a into b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
