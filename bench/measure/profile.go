package measure

// A part is what processor time is used for: all below the innermost function whose name begins so.
type ProfilePart struct {
	Title    string
	Prefixes []string
}

const (
	ofTTYDrain = "github.com/ttydrain/ttydrain/"
	OtherPart  = "other"
)

// parts are what a stack is looked through for, from its innermost function on.
func ProfileParts() []ProfilePart {
	return []ProfilePart{
		{"TLS", []string{"crypto/tls."}},
		{"HTTP", []string{"net/http."}},
		{"SHA-256", []string{"crypto/internal/fips140/sha256.", "crypto/sha256."}},
		{"NATS server", []string{"github.com/nats-io/nats-server/"}},
		{"NATS client", []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats%2ego"}},
		{"texts", []string{ofTTYDrain + "enrich.(*terminal)", ofTTYDrain + "enrich.(*row)", ofTTYDrain + "enrich.scan", ofTTYDrain + "enrich.isStill"}},
		{"enriching", []string{ofTTYDrain + "enrich."}},
		{"segments, chunks", []string{ofTTYDrain + "schema.AppendSegment", ofTTYDrain + "schema.(*Decoder)", ofTTYDrain + "schema.DecodeChunk"}},
		{"encoding", []string{ofTTYDrain + "schema.", ofTTYDrain + "sinks/"}},
		{"pipeline", []string{ofTTYDrain + "pipeline"}},
		{"collecting garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssistAlloc"}},
		{"scheduling", []string{"runtime.mcall", "runtime.mstart", "runtime.systemstack", "runtime.goexit"}},
	}
}
