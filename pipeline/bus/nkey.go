package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
)

// NewNKeySeed generates an NKey for a NATS user, and returns its seed: the content of the file of
// [Options.NKeySeedFile].
func NewNKeySeed() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("generate an NKey: %w", err)
	}
	return pair.Seed() // not a copy: the pair is not wiped
}

// PublicNKey returns the public key of a seed, for the server's configuration.
func PublicNKey(seed []byte) (string, error) {
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return "", fmt.Errorf("read the seed of an NKey: %w", err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// CheckNKeySeed returns an error if data is not valid for the file of [Options.NKeySeedFile]. The
// error contains nothing of data.
func CheckNKeySeed(data []byte) error {
	_, err := PublicNKey(data)
	return err
}

// CheckCredentials returns an error if data is not valid for the file of [Options.CredentialsFile].
// The error contains nothing of data.
func CheckCredentials(data []byte) error {
	token, err := nkeys.ParseDecoratedJWT(data)
	if err != nil || token == "" {
		return errors.New("it has no JWT of a user")
	}
	return CheckNKeySeed(data)
}
