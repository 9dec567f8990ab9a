// Package version holds what this binary is called; the build stamps it (see Makefile).
package version

// stamp is set with -ldflags "-X holdfast/internal/version.stamp=...".
var stamp = "dev"

// String is the version as printed: a git description, or dev.
func String() string { return stamp }
