// Package sessiontest is the conformance suite that every [session.Runtime] passes: what sessions
// rely on, whatever they run in.
package sessiontest
