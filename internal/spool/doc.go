// Package spool keeps deliveries on disk from the moment their sender is told that they are safe until the host has
// evaluated them. It stands between a source whose senders keep nothing, such as the webhook, and the stream.
//
// # What is promised
//
// When [Spool.Deliver] has returned nil, the delivery is on disk, synced, and will be evaluated: after kill -9 of the
// process, after a power cut, and while the disk is full or fails for what comes later. Deliveries are evaluated in the
// order in which they were taken. After a restart everything that was not evaluated comes again, beginning with the
// delivery that was being evaluated: one delivery is repeated after a kill, and after a power cut those of the last
// second, since the position is synced once a second.
//
// When Deliver has returned an error, nothing of the delivery is evaluated by this process. If the process ends before
// the spool has written again, the delivery may be evaluated by the next one although it was refused.
//
// A spool never takes more of the disk than its limit. When it is full, or its disk is full or fails, it refuses at
// once, says so to rules, and takes deliveries again by itself when there is room. It never ends the host.
//
// What is damaged on disk is left out and counted, and what is whole behind it is read. Records are numbered, so that
// the number of those lost is known, and rules are told of it. What a crash left half written at the end was never
// acknowledged; its bytes are counted apart.
//
// # What is not
//
// A disk that says it has written and has not breaks the promise for a power cut. So does a folder in memory. A delivery
// whose sender did not get the answer, because the process was killed on the way, may come twice: senders repeat.
// Evaluated deliveries stay on disk until all of their segment are evaluated, at rest for up to half a minute.
// The folder holds audit events, which hold secrets: it is made for its owner only, and is not encrypted.
//
// # On disk
//
// The folder holds one file of positions, which is also the lock that keeps a second process or plugin object out, and
// segments, whose names tell their number, the number of their first record, and their marker. A segment is a sequence
// of records: a header, the names of source and cluster, the payload. Header and content have their own checksums. The
// marker begins each record. It is random, so that a place to go on behind damage cannot be forged by what somebody
// sends.
package spool
