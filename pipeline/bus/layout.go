package bus

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

// A Role is a part of ttydrain, or several of them: they can be joined by |. It says which streams
// and buckets a process uses.
type Role uint8

// The parts of ttydrain.
const (
	RoleGateway Role = 1 << iota
	RoleEnrich
	RoleRouter

	roleAll = RoleGateway | RoleEnrich | RoleRouter
	// roleAdmin is who makes the streams and buckets: see [Apply].
	roleAdmin Role = 1 << 7
)

// String is the name of the role, as in serve's --role; of several, their names with "_" between.
func (r Role) String() string {
	switch r {
	case 0, roleAll:
		return "all"
	case roleAdmin:
		return "admin"
	}
	var names []string
	for _, n := range []struct {
		role Role
		name string
	}{{RoleGateway, "gateway"}, {RoleEnrich, "enrich"}, {RoleRouter, "router"}} {
		if r&n.role != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "_")
}

// has says whether one of the roles is among those of a process.
func (r Role) has(process Role) bool { return process == 0 || r&process != 0 }

// streams are the streams, and who uses them. Who adds one adds it to what the NATS users may do:
// nats/permissions.conf.
var streams = []struct {
	name, subjects string
	roles          Role
}{
	{schema.StreamTTY, "tty.>", RoleGateway | RoleEnrich},
	{schema.StreamLogs, "logs.>", RoleEnrich | RoleRouter},
	{schema.StreamDeadLetter, "deadletter.>", RoleRouter},
}

// likeSessions is the TTL of a bucket that keeps what it has for a week longer than the streams:
// see Bus.ttl.
const likeSessions = -1

// buckets are the KV buckets, likewise.
var buckets = []struct {
	into   func(*Bus) *jetstream.KeyValue
	config jetstream.KeyValueConfig
	roles  Role
}{
	{func(b *Bus) *jetstream.KeyValue { return &b.operations },
		jetstream.KeyValueConfig{Bucket: schema.BucketOperations, Description: "who opened which session; never changed",
			TTL: likeSessions}, RoleGateway},
	{func(b *Bus) *jetstream.KeyValue { return &b.sessions },
		jetstream.KeyValueConfig{Bucket: schema.BucketSessions, Description: "how each session stands", TTL: likeSessions}, roleAll},
	// In memory: a slot of a session that runs is taken again when it is gone.
	{func(b *Bus) *jetstream.KeyValue { return &b.slots },
		jetstream.KeyValueConfig{Bucket: schema.BucketSlots, Description: "which sessions run, within the limit of each stack",
			TTL: SlotTTL, Storage: jetstream.MemoryStorage}, roleAll},
	// A wish waits for a gateway that was cut off for as long as a session can last.
	{func(b *Bus) *jetstream.KeyValue { return &b.kills },
		jetstream.KeyValueConfig{Bucket: schema.BucketKills, Description: "which sessions are to be ended", TTL: killRetention}, roleAll},
	{func(b *Bus) *jetstream.KeyValue { return &b.positions },
		jetstream.KeyValueConfig{Bucket: schema.BucketPositions, Description: "how far each reader of a stream has come"}, RoleEnrich | RoleRouter},
	// In memory: the leases of an embedded server end with it, so that its next start need not wait
	// for them.
	{func(b *Bus) *jetstream.KeyValue { return &b.leases },
		jetstream.KeyValueConfig{Bucket: schema.BucketLeases, Description: "which process does which work",
			TTL: leaseTTL, Storage: jetstream.MemoryStorage}, RoleEnrich | RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.controls },
		jetstream.KeyValueConfig{Bucket: schema.BucketControls, Description: "what is wanted of each drain"}, RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.states },
		jetstream.KeyValueConfig{Bucket: schema.BucketStates, Description: "how each drain stands",
			TTL: stateTTL, Storage: jetstream.MemoryStorage}, RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.gaps },
		jetstream.KeyValueConfig{Bucket: schema.BucketGaps, Description: "what drains miss and were not told yet",
			LimitMarkerTTL: gapMarkerTTL}, RoleRouter},
}
