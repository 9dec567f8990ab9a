//go:build bug_source_keeps_generation

package planted

// SourceKeepsGeneration: a source that goes on alone begins no new generation, although its target may have finished.
const SourceKeepsGeneration = true
