// Package sessiontest is the conformance suite that every [session.Runtime] must pass: the
// behaviour that sessions rely on in any runtime.
package sessiontest
