// Package abi is the boundary to the host: the C symbols Falco looks up in the library, the memory it shares with them,
// and the threads that cross. With its other part it is the only package that speaks C: here is what every library has,
// which answers questions about events, its own or those of others; package sourcing is for a library that has events of
// its own. The host tells what a plugin can do from the symbols it exports, and a library exports those of the packages
// it imports.
//
// The Go SDK (github.com/falcosecurity/plugin-sdk-go) answers for init schema, last error, list of open parameters and
// progress. The other symbols are here: the SDK's open does not know for which plugin object it is called, its next_batch
// copies events byte by byte, and its extract enters Go for every field (docs/adr/0002-own-symbols.md).
//
// # Memory
//
// An event is written once, by a decode worker, in C memory ([Batch]): a pointer to its table, the header the host
// expects, the JSON as it arrived. The table holds the answers to all questions rules had asked when the event was
// decoded. plugin_extract_fields (extract.c) finds the table from the event's address and returns pointers into it.
// A question never asked before enters Go once: the event gets a table that answers it too, with room for more of them,
// and every event decoded from then on brings the answer along.
//
// Batches are reused when the host asks for the next one, and not earlier: until then values stay good, whatever is
// asked in between. Events in memory that is not ours, of another plugin or in a replayed capture, are copied once; the
// host asks about the same one as before if it is where it was, with its number, and looks the same (extract.c:
// same_foreign). Their values stay good until the next such event, and questions rules have not asked lately are answered
// when they are.
//
// # Threads
//
// The host calls extract_fields, next_batch and event_to_string for one plugin object from one thread at a time. Metrics
// may be asked for from another at any time, and close may be called while next_batch waits. Several objects live side
// by side and share nothing.
//
// Logs go to the host from wherever they are written; none is under way when the call that ends it has returned.
//
// # Panics
//
// None crosses into C. In a call of the host's it becomes that call's error, in a field the loss of one answer; each is
// logged, and counted as failed.
package abi
