package schema

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Names of the JetStream streams and KV buckets.
const (
	StreamTTY        = "TTY"
	StreamLogs       = "LOGS"
	StreamDeadLetter = "DEADLETTER"

	BucketOperations = "operations"
	BucketSessions   = "sessions"
	BucketPositions  = "positions"
	BucketLeases     = "leases"
)

// First tokens of the subjects of each stream.
const (
	prefixTTY  = "tty"
	prefixLogs = "logs"
)

// Token makes s one token of a NATS subject and of a KV key: every byte but letters, digits, "-"
// and "_" becomes "=" and two hexadecimal digits. Distinct strings give distinct tokens.
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Partition is the partition of an operation among n: a stable function of both.
func Partition(operationID string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(operationID))
	return int(h.Sum32() % uint32(n))
}

// SubjectTTY is where the chunks of an operation go: tty.<partition>.<stack>.<app>.<operation>.
func SubjectTTY(op *Operation, partitions int) string {
	return subject(prefixTTY, op, partitions)
}

// SubjectLogs is where the segments of an operation go: logs.<partition>.<stack>.<app>.<operation>.
func SubjectLogs(op *Operation, partitions int) string {
	return subject(prefixLogs, op, partitions)
}

func subject(prefix string, op *Operation, partitions int) string {
	return prefix + "." + strconv.Itoa(Partition(op.ID, partitions)) + "." + Token(op.Stack) + "." + Token(op.App) + "." + Token(op.ID)
}

// LogsOf is the subject on LOGS of the operation whose subject on TTY is given.
func LogsOf(ttySubject string) string {
	return prefixLogs + strings.TrimPrefix(ttySubject, prefixTTY)
}

// FilterTTY matches all chunks of one partition; -1 means every partition.
func FilterTTY(partition int) string { return filter(prefixTTY, partition, "", "") }

// FilterLogs matches the segments of one partition (-1: all), stack ("": all) and app ("": all).
func FilterLogs(partition int, stack, app string) string {
	return filter(prefixLogs, partition, stack, app)
}

// FilterOperationTTY matches the chunks of one operation.
func FilterOperationTTY(id string, partitions int) string {
	return prefixTTY + "." + strconv.Itoa(Partition(id, partitions)) + ".*.*." + Token(id)
}

// FilterOperation matches the segments of one operation.
func FilterOperation(id string, partitions int) string {
	return prefixLogs + "." + strconv.Itoa(Partition(id, partitions)) + ".*.*." + Token(id)
}

func filter(prefix string, partition int, stack, app string) string {
	p, s, a := "*", "*", "*"
	if partition >= 0 {
		p = strconv.Itoa(partition)
	}
	if stack != "" {
		s = Token(stack)
	}
	if app != "" {
		a = Token(app)
	}
	return prefix + "." + p + "." + s + "." + a + ".*"
}
