package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/ttydrain/ttydrain/pipeline/client"
)

// startNATS runs a NATS server that listens, and gives its URL.
func startNATS(t testing.TB) string {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Username: "ttydrain", Password: "nats-password",
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ends with the test
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	return s.ClientURL()
}

// TestRoles runs the parts of ttydrain as processes of their own, two of each but the gateway, and kills the ones that
// do the work: the others go on with it, and nothing is lost or out of order.
func TestRoles(t *testing.T) {
	d := httpsDrain(t, "ndjson", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(d.entry))
	text, err := os.ReadFile(site.config)
	if err != nil {
		t.Fatal(err)
	}
	nats := fmt.Sprintf("nats: {url: %q, replicas: 1, username: ttydrain, password: nats-password}", startNATS(t))
	site.write(site.config, strings.Replace(string(text), "store: ./data", nats, 1))

	gateway := site.serve("--role", "gateway")
	first := []*server{site.serve("--role", "enrich"), site.serve("--role", "router")}
	session := func(lines int) (operation string, shown []byte) {
		t.Helper()
		w := new(watcher)
		status, err := gateway.dial().Run(t.Context(), client.Session{
			Command:  fmt.Sprintf(`i=0; while [ $i -lt %d ]; do echo "line $((i++)) größe"; done`, lines),
			Terminal: &client.Terminal{Name: "xterm", Width: 80, Height: 24}, Stdout: w,
		})
		if err != nil || status != 0 {
			t.Fatalf("the session ended with %d, %v", status, err)
		}
		return operationOf(t, w.bytes()), w.bytes()
	}
	check := func(operation string, shown []byte) {
		t.Helper()
		got := d.transcript(t, operation)
		if !bytes.Equal(got.stdout, shown) {
			mustBe(t, d.name, "operation "+operation, got.stdout, shown)
		}
	}
	check(session(500))
	second := []*server{site.serve("--role", "enrich"), site.serve("--role", "router")}
	operation, shown := session(5000)
	for _, v := range first {
		v.signal(syscall.SIGKILL)
		v.status()
	}
	check(operation, shown)
	check(session(500))
	for _, v := range append(second, gateway) {
		if status := v.stop(); status != 0 {
			t.Errorf("a part ended with %d", status)
		}
	}
}
