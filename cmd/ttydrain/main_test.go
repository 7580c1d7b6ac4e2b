package main

import (
	"os"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// nodes are the Elasticsearch nodes of this package's tests.
var nodes estest.Shared

func TestMain(m *testing.M) {
	if sandbox.InitMain() {
		return
	}
	os.Exit(nodes.Main(m))
}
