package main

import (
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/resources"
)

func TestProcessOf(t *testing.T) {
	all := roles{true, true, true}
	for _, test := range []struct {
		name   string
		config config.Config
		parts  roles
		want   resources.Process
	}{
		{"every write is synced", config.Config{Store: "data"}, all, resources.Process{Gateway: true, Enrich: true, Router: true, DiskWriters: bus.Writers}},
		{"writes are synced at intervals", config.Config{Store: "data", SyncInterval: time.Second}, all, resources.Process{Gateway: true, Enrich: true, Router: true}},
		{"the disk is another machine's", config.Config{NATS: new(config.NATS)}, roles{router: true}, resources.Process{Router: true}},
	} {
		if got := processOf(&test.config, test.parts); got != test.want {
			t.Errorf("%s: %+v, expected %+v", test.name, got, test.want)
		}
	}
}
