// Package estest runs a real Elasticsearch node for tests, and queries it.
//
// A package's tests share one node of each kind:
//
//	var nodes estest.Shared
//
//	func TestMain(m *testing.M) { os.Exit(nodes.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		node := nodes.Node(t, estest.Options{})
//		…
//	}
//
// The environment variable ELASTICSEARCH_URL names a node to use instead of one that is started,
// for tests that need no users, and OPENSEARCH_URL one of OpenSearch. Where a node cannot be had,
// tests are skipped, loudly; with TTYDRAIN_REQUIRE_SERVERS=1 they fail. The page
// development of the documentation lists the programs that this needs.
package estest

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// Options say which kind of node is wanted.
type Options struct {
	// Security is users, roles and API keys. Without it everybody may do everything.
	Security bool
	// OpenSearch is a node of OpenSearch in place of Elasticsearch, without users.
	OpenSearch bool
}

const (
	environmentURL     = "ELASTICSEARCH_URL"
	environmentOpen    = "OPENSEARCH_URL"
	environmentRequire = "TTYDRAIN_REQUIRE_SERVERS"
)

// Start starts a node, which ends with the test, and waits until it answers. The first start on a
// machine downloads the server.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	node, err := start(o)
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(node.Stop)
	return node
}

// Open is as [Start], for a program that is not a test: the node is the caller's, who stops it.
func Open(o Options) (*Node, error) { return start(o) }

// giveUp ends the test: for a node that this machine cannot run, by skipping it where that is
// allowed.
func giveUp(t testing.TB, err error) {
	t.Helper()
	missing, ok := err.(*missingError)
	if !ok || os.Getenv(environmentRequire) == "1" {
		t.Fatalf("no Elasticsearch to test with: %v", err)
	}
	t.Skipf("SKIPPED, NOT TESTED: no Elasticsearch to test with: %v. Install them (a JDK of version 17 or later, Maven, unzip), or set %s.", missing, environmentURL)
}

// missingError reports that programs of a node are not installed.
type missingError struct{ programs []string }

func (e *missingError) Error() string {
	return "this machine has no " + strings.Join(e.programs, ", no ")
}

// Shared is one node of each kind for all tests of a package. The zero value is ready; nodes are
// started when the first test wants them.
type Shared struct {
	mu    sync.Mutex // guards nodes; held while one starts, so that there is one of each
	nodes map[Options]result
}

type result struct {
	node *Node
	err  error
}

// Node is the package's node of that kind. It is not for tests that stop or restart it.
func (s *Shared) Node(t testing.TB, o Options) *Node {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.nodes[o]
	if !ok {
		r.node, r.err = start(o)
		if s.nodes == nil {
			s.nodes = make(map[Options]result)
		}
		s.nodes[o] = r
	}
	if r.err != nil {
		giveUp(t, r.err)
	}
	return r.node
}

// Main runs the tests and then stops the nodes. It returns what TestMain exits with.
func (s *Shared) Main(m *testing.M) int {
	defer s.stop()
	return m.Run()
}

func (s *Shared) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.nodes {
		if r.node != nil {
			r.node.Stop()
		}
	}
}
