//go:build bug_verify_ignores

package planted

// VerifyIgnores: what online verify finds to differ is not marked.
const VerifyIgnores = true
