package enrich

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/ttydrain/ttydrain/schema"
)

// A GapKey signs gap records and nothing else. Its file has a delegation by the signing key, which
// goes into its signatures: they are verified with the signing key's set, to which it does not
// belong. So a router can sign the gaps that it notes, and not what sessions are made of.
type GapKey struct {
	key        *Key
	delegation string
}

// delegationBlock is the type of the PEM block with the delegation.
const delegationBlock = "TTYDRAIN DELEGATION"

// CreateGapKey writes a new gap key with a delegation by the signing key. A file that exists stays.
func CreateGapKey(path string, by *Key) error {
	private, err := generateKey("EdDSA")
	if err != nil {
		return err
	}
	key, err := parseKey(private, "")
	if err != nil {
		return err
	}
	public, err := json.Marshal(key.jwk())
	if err != nil {
		return fmt.Errorf("encode the gap key: %w", err)
	}
	delegation, err := by.Sign(schema.SignedDelegation, schema.Delegation{Type: schema.SignedGap, Key: public})
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: delegationBlock, Bytes: []byte(delegation)})
	return writeWhole(path, append(private, block...), os.Link)
}

// ReadGapKey reads a gap key.
func ReadGapKey(path string) (*GapKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("gap key: %w", err)
	}
	key, err := parseKey(data, "")
	if err != nil {
		return nil, fmt.Errorf("gap key %s: %w", path, err)
	}
	_, rest := pem.Decode(data)
	if block, _ := pem.Decode(rest); block != nil && block.Type == delegationBlock {
		return &GapKey{key, string(block.Bytes)}, nil
	}
	return nil, fmt.Errorf("gap key %s: %w", path, errors.New("it has no delegation: make the file with ttydrain keys make"))
}

// Sign signs the claim of a gap record, whose type is [schema.SignedGap].
func (k *GapKey) Sign(typ string, object any) (string, error) {
	return k.key.sign(typ, object, k.delegation)
}
