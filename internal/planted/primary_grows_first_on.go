//go:build bug_primary_grows_first

package planted

// PrimaryGrowsFirst: a Primary's device becomes larger before its peer's.
const PrimaryGrowsFirst = true
