package main

import "time"

// Goldens have times of day. The zone is set before any test: connections of one may still read it while the next runs.
func init() { time.Local = time.UTC }
