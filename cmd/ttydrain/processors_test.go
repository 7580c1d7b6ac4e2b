package main

import (
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

func TestRoomForWriters(t *testing.T) {
	for _, test := range []struct {
		name    string
		config  config.Config
		decided bool
		want    int
	}{
		{"every write is synced", config.Config{Store: "data"}, false, 4},
		{"GOMAXPROCS is set", config.Config{Store: "data"}, true, 2},
		{"writes are synced now and then", config.Config{Store: "data", SyncInterval: time.Second}, false, 2},
		{"the disk is another machine's", config.Config{NATS: new(config.NATS)}, false, 2},
	} {
		if got := atOnce(&test.config, test.decided, 2); got != test.want {
			t.Errorf("%s: %d run at a time, expected %d", test.name, got, test.want)
		}
	}
}
