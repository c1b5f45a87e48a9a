// Package engine runs a plugin library inside the real engines that will run it: libsinsp, the engine inside Falco, in
// the versions of Debian 13 and of Debian's development suite, the falco program where one is installed, and sysdig.
//
// libsinsp is not a dependency anyone has at hand, so [Setup] takes it from Debian: it asks apt for the packages,
// from the mirror that the machine is configured for, unpacks them in a folder of the user's cache, and compiles
// test/e2e/host/host.cpp in there. That happens once; the folder is named after what went into it. Nothing is
// installed on the machine, and nothing needs to be mounted: programs from that folder are started through the
// folder's own dynamic loader, so they see the machine's files under their ordinary names.
package engine
