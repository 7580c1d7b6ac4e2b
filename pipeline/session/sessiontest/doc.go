// Package sessiontest is the conformance suite that every [session.Runtime] must pass: the
// behaviour that sessions rely on in any runtime. It also has [Shells], which run sessions without
// a runtime for tests of SSH servers and clients.
package sessiontest
