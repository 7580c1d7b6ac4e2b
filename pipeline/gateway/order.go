package gateway

import (
	"fmt"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/ssh"
)

// inWireOrder has the SSH library deliver channel opens and global requests in the order in which
// the client sent them. The caller has to read both channels until they are closed.
//
// The library buffers 16 of each, so a request that came after an open can be read before it:
// no-more-sessions@openssh.com then refuses the session that it was sent after, as OpenSSH's client
// does. Nothing that the library exports has their order. Without buffers, its reader waits until
// the one message is taken before it looks at the next, so both buffered channels are replaced, by
// reflection, before the client may send anything: see heard.hold. A client that sends something
// before it has the answer to its login gets none to that.
//
// An error means that the library's fields are not those that this was written for; then nothing is
// replaced.
func inWireOrder(conn *ssh.ServerConn) (opens <-chan ssh.NewChannel, requests <-chan *ssh.Request, err error) {
	internal := reflect.ValueOf(conn.Conn)
	if internal.Kind() != reflect.Pointer || internal.Elem().Kind() != reflect.Struct {
		return nil, nil, fmt.Errorf("the SSH library's connection is a %s", internal.Type())
	}
	mux := internal.Elem().FieldByName("mux")
	if mux.Kind() != reflect.Pointer || mux.IsNil() || mux.Elem().Kind() != reflect.Struct {
		return nil, nil, fmt.Errorf("the SSH library's %s has no mux", internal.Type())
	}
	o, err := bufferedIn[ssh.NewChannel](mux.Elem(), "incomingChannels")
	if err != nil {
		return nil, nil, err
	}
	r, err := bufferedIn[*ssh.Request](mux.Elem(), "incomingRequests")
	if err != nil {
		return nil, nil, err
	}
	*o, *r = make(chan ssh.NewChannel), make(chan *ssh.Request)
	return *o, *r, nil
}

// bufferedIn returns the address of a struct's field that is a channel.
func bufferedIn[T any](owner reflect.Value, name string) (*chan T, error) {
	field := owner.FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[chan T]() {
		return nil, fmt.Errorf("the SSH library's %s has no field %s of type %s", owner.Type(), name, reflect.TypeFor[chan T]())
	}
	return (*chan T)(unsafe.Pointer(field.UnsafeAddr())), nil
}
