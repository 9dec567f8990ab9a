// Package planted holds one constant for each bug that can be built in on purpose, to see that the tests would catch it. All
// are false, and cost nothing, unless the build tag of one is given (bug_NAME); no product is built with one. The bugs and
// the tests that catch them are listed in docs/SAFETY.md.
package planted
