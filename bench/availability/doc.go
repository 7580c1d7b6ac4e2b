// Package availability attacks a ttydrain server while users work on it, and checks that they do
// not notice.
package availability
