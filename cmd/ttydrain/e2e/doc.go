// Package e2e tests the ttydrain binary from the outside: its tests build it, run it as users and
// operators do, and check the results at real clients, drains and browsers. It has no code of its
// own; the tests of single functions of package main are beside them.
package e2e
