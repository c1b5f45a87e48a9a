//go:build race

package extract_test

// raced says that the race detector is at work, which makes some things a hundred times as slow.
const raced = true
