//go:build bug_generation_forgotten

package planted

// GenerationForgotten: a disk does not take the generation the log has given it.
const GenerationForgotten = true
