// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"golang.org/x/crypto/scrypt"
)

// Digest identifies the result of a step and of all steps before it: a SHA-256 digest in hexadecimal.
type Digest string

// short returns the beginning of a digest, for messages.
func (d Digest) short() string { return string(d[:min(12, len(d))]) }

// Entry is one step in a chain of digests, with its inputs.
type Entry struct {
	Kind  string `json:"kind"`
	Title string `json:"title"`
	// Version is that of the code that made the result.
	Version string `json:"version"`
	// Inputs is the step's data, with secrets hidden. Secrets has a hash of these.
	Inputs  json.RawMessage `json:"inputs"`
	Secrets string          `json:"secrets,omitempty"`
	// View is what the step could see of the host before it ran.
	View *view `json:"view,omitempty"`
	// Observed is what a hook used of the host; see observation. It is unknown before the hook has run once.
	Observed *observation `json:"observed,omitempty"`
	// Content is the digest without Observed, Digest the digest of everything.
	Content Digest `json:"own"`
	Digest  Digest `json:"digest"`

	kept bool // see Step.Kept
}

// scryptCost makes a guess at a secret take some 16 MiB and tens of milliseconds (N of RFC 7914).
const scryptCost = 1 << 14

// chainFormat changes with the content or the format of chains: snapshots with another one are not found.
const chainFormat = "3"

// firstDigest returns the digest of an empty root file system.
func (store *Store) firstDigest() Digest {
	return HashOf(slices.Concat([]string{"vmdebootstrap", chainFormat}, store.Epoch)...)
}

// newEntry returns the entry of a step after the given digest. v is the step's view; nil for none.
func (store *Store) newEntry(before Digest, step Step, v *view) (Entry, error) {
	inputs, err := json.Marshal(step)
	if err != nil {
		return Entry{}, fmt.Errorf("BUG: data of step %s: %w", step.Kind(), err)
	}
	l := Entry{
		Kind: step.Kind(), Title: step.Title(), Version: store.version(step.Kind()), Inputs: inputs, View: v,
		kept: step.Kept(),
	}
	// Another password means another image, but a digest must not make guessing it easier than the hash in the image.
	for _, secret := range secretsOf(reflect.ValueOf(step)) {
		hash, err := scrypt.Key([]byte(secret), []byte(before), scryptCost, 8, 1, sha256.Size)
		if err != nil {
			return Entry{}, fmt.Errorf("BUG: hash of a secret: %w", err)
		}
		l.Secrets += hex.EncodeToString(hash)
	}
	seen, err := json.Marshal(v)
	if err != nil {
		return Entry{}, fmt.Errorf("BUG: view of step %s: %w", step.Kind(), err)
	}
	l.Content = HashOf(string(before), l.Kind, l.Version, string(inputs), l.Secrets, string(seen))
	l.Digest = l.Content
	return l, nil
}

// observe sets what the step was seen to use.
func (l *Entry) observe(o *observation) error {
	if o == nil {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	l.Observed = o
	l.Digest = HashOf(string(l.Content), string(data))
	return nil
}

// HashOf returns a digest of a list of texts. Each length is part of it, so that different lists never collide by
// concatenation.
func HashOf(texts ...string) Digest {
	h := sha256.New()
	buf := make([]byte, 0, 4096) // a text can be a file of 100 MB
	for _, text := range texts {
		buf = append(strconv.AppendInt(buf[:0], int64(len(text)), 10), ':')
		for h.Write(buf); text != ""; h.Write(buf) {
			n := min(len(text), cap(buf))
			buf, text = append(buf[:0], text[:n]...), text[n:]
		}
	}
	return Digest(hex.EncodeToString(h.Sum(nil)))
}

// secretsOf returns all non-empty secrets in a step's data, including URLs with credentials.
func secretsOf(v reflect.Value) []string {
	if hiding, ok := v.Interface().(interface{ DigestText() string }); ok {
		if hiding.DigestText() == "" {
			return nil
		}
		return []string{hiding.DigestText()}
	}
	var found []string
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				found = append(found, secretsOf(v.Field(i))...)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			found = append(found, secretsOf(v.Index(i))...)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			found = secretsOf(v.Elem())
		}
	}
	return found
}
