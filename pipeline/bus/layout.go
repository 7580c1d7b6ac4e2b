package bus

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

// Role is a part of ttydrain, or several parts combined with |. It determines the streams and
// buckets that a process uses.
type Role uint8

// The parts of ttydrain.
const (
	RoleGateway Role = 1 << iota
	RoleEnrich
	RoleRouter

	roleAll = RoleGateway | RoleEnrich | RoleRouter
	// roleAdmin creates the streams and buckets: see [Apply].
	roleAdmin Role = 1 << 7
)

// String returns the name of the role, as in serve's --role; several names are joined by "_".
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

// has reports whether one of the roles is among those of a process.
func (r Role) has(process Role) bool { return process == 0 || r&process != 0 }

// streams are the streams and the roles that use them. A new stream must be added to the
// permissions of the NATS users as well: nats/permissions.conf.
var streams = []struct {
	name, subjects string
	roles          Role
}{
	{schema.StreamTTY, "tty.>", RoleGateway | RoleEnrich},
	{schema.StreamLogs, "logs.>", RoleEnrich | RoleRouter},
	{schema.StreamDeadLetter, "deadletter.>", RoleRouter},
	{schema.StreamAudit, "audit.>", roleAll},
}

// likeSessions is the TTL of a bucket that keeps entries a week longer than the streams: see
// Bus.ttl.
const likeSessions = -1

// buckets are the KV buckets and the roles that use them; the same applies.
var buckets = []struct {
	into   func(*Bus) *jetstream.KeyValue
	config jetstream.KeyValueConfig
	roles  Role
}{
	{func(b *Bus) *jetstream.KeyValue { return &b.operations },
		jetstream.KeyValueConfig{Bucket: schema.BucketOperations, Description: "who opened which session; never changed",
			TTL: likeSessions}, RoleGateway},
	{func(b *Bus) *jetstream.KeyValue { return &b.sessions },
		jetstream.KeyValueConfig{Bucket: schema.BucketSessions, Description: "state of each session", TTL: likeSessions}, roleAll},
	// In memory: a running session takes its slot again when it is lost.
	{func(b *Bus) *jetstream.KeyValue { return &b.slots },
		jetstream.KeyValueConfig{Bucket: schema.BucketSlots, Description: "which sessions run, within the limit of each stack",
			TTL: SlotTTL, Storage: jetstream.MemoryStorage}, roleAll},
	// A request waits for a disconnected gateway as long as a session can last.
	{func(b *Bus) *jetstream.KeyValue { return &b.kills },
		jetstream.KeyValueConfig{Bucket: schema.BucketKills, Description: "requests to kill sessions", TTL: killRetention}, roleAll},
	{func(b *Bus) *jetstream.KeyValue { return &b.positions },
		jetstream.KeyValueConfig{Bucket: schema.BucketPositions, Description: "position of each reader of a stream"}, RoleEnrich | RoleRouter},
	// In memory: the leases of an embedded server end with it, so that the next start need not wait
	// for them to expire.
	{func(b *Bus) *jetstream.KeyValue { return &b.leases },
		jetstream.KeyValueConfig{Bucket: schema.BucketLeases, Description: "which process does which work",
			TTL: leaseTTL, Storage: jetstream.MemoryStorage}, RoleEnrich | RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.controls },
		jetstream.KeyValueConfig{Bucket: schema.BucketControls, Description: "desired state of each drain"}, RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.states },
		jetstream.KeyValueConfig{Bucket: schema.BucketStates, Description: "current state of each drain",
			TTL: stateTTL, Storage: jetstream.MemoryStorage}, RoleRouter},
	{func(b *Bus) *jetstream.KeyValue { return &b.gaps },
		jetstream.KeyValueConfig{Bucket: schema.BucketGaps, Description: "gaps not yet sent to drains",
			LimitMarkerTTL: gapMarkerTTL}, RoleRouter},
}
