//go:build !bug_new_area_unmarked

package planted

// NewAreaUnmarked: the new blocks of a larger device are not marked.
const NewAreaUnmarked = false
