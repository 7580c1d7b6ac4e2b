package enricher

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

func openBus(t testing.TB, dir string, partitions int) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: dir, Sync: time.Hour, Partitions: partitions, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testKey(t testing.TB) *enrich.Key {
	t.Helper()
	k, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func document(k *enrich.Key) func(schema.User) (string, error) {
	return func(u schema.User) (string, error) { return k.Mint("https://auth.example.com", u, time.Now()) }
}
