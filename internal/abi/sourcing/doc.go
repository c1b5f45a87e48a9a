// Package sourcing is the part of the boundary for a library that brings events: it opens sources, hands out what the stream
// has decoded, tells notices and shows metrics. What every library has is in package abi.
//
// The host calls next_batch for one plugin object from one thread at a time, which is the one that asks for fields.
// Metrics may be asked for from another at any time, and close may be called while next_batch waits.
//
// Notices go to the host from a goroutine of the object's that lives while the host has a handler set; none is under way
// when the call that ends it has returned.
//
// A panic in the decoding of a delivery costs its rest, in a source's Done nothing.
package sourcing
