// Package tidy holds no program, only tests: they enforce the project's layout and style on the source itself, so that
// nobody has to in review. Each failure says the rule and what to do. rooms_test.go lists every package with its kind;
// ratchet_test.go lists the tolerated exceptions to sizes, which may shrink and never grow.
package tidy
