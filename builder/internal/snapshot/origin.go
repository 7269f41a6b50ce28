// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Whoever can write to a --cache-from remote decides what is in the snapshots from there. So each of them,
// and each that was made above one, records its origins in its labels, and its name ends in a digest of
// these. A build that looks for its own results never gets others' by mistake, and only builds that name all
// the remotes find others'.

// origin is an image of a --cache-from remote that is part of a snapshot in the store.
type origin struct {
	// Remote is the --cache-from remote, with an absolute path if it is a directory.
	Remote string `json:"place"`
	// NoTLS reports whether the registry's TLS certificate was not verified.
	NoTLS bool `json:"noTLS,omitempty"`
	// Image identifies the image; Signature is the signature of that, if there is one.
	Image     Digest `json:"image"`
	Signature []byte `json:"signature,omitempty"`
}

// origins is a sorted list without duplicates.
type origins []origin

// labelOrigins holds the origins of a snapshot, as JSON. A snapshot that this machine alone has made lacks it.
const labelOrigins = "origins"

// originsSeparator precedes the digest of the origins in the name of a snapshot.
const originsSeparator = "-from-"

// with returns the origins and more.
func (o origins) with(more ...origin) origins {
	all := append(slices.Clone(o), more...)
	order := func(a, b origin) int {
		return cmp.Or(cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Image, b.Image),
			slices.Compare(a.Signature, b.Signature))
	}
	slices.SortFunc(all, order)
	return slices.CompactFunc(all, func(a, b origin) bool { return order(a, b) == 0 && a.NoTLS == b.NoTLS })
}

// mark returns the name and the labels of a snapshot with these origins.
func (o origins) mark(own string, labels map[string]string) (name string, marked map[string]string) {
	if len(o) == 0 {
		return own, labels
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic("BUG: origins: " + err.Error())
	}
	marked = maps.Clone(labels)
	marked[labelOrigins] = string(text)
	return own + originsSuffix(string(text)), marked
}

// originsSuffix returns the end of a name, with 128 bits of a hash: the remotes choose what is hashed.
func originsSuffix(label string) string {
	sum := sha256.Sum256([]byte(label))
	return originsSeparator + hex.EncodeToString(sum[:sha256.Size/2])
}

// localName returns the name of the same snapshot without origins.
func localName(name string) string {
	own, _, _ := strings.Cut(name, originsSeparator)
	return own
}

// originsOf returns the origins of a snapshot of the store, which it verifies against the snapshot's name.
func originsOf(name string, labels map[string]string) (origins, error) {
	own, text := localName(name), labels[labelOrigins]
	if own == name {
		return nil, nil
	}
	var o origins
	if err := json.Unmarshal([]byte(text), &o); err != nil || own+originsSuffix(text) != name {
		return nil, fmt.Errorf("%s has no valid origins", name)
	}
	return o, nil
}

// localSnapshot is a snapshot of the store that a build may use.
type localSnapshot struct {
	name    string
	labels  map[string]string
	origins origins
}

// local returns the snapshots of the store with that name, apart from origins, that this build may use. This machine's
// own come first. title describes the step to users.
func (store *Store) local(name, title string) ([]localSnapshot, error) {
	var found []localSnapshot
	all, err := store.Engine.Snapshots()
	if err != nil {
		return nil, err
	}
	for _, s := range all { // the most recently used first
		if localName(s.Name) != name {
			continue
		}
		o, err := originsOf(s.Name, s.Labels)
		if err != nil {
			store.unused(title, err.Error())
			continue
		}
		if why := store.distrust(o); why != "" {
			store.unused(title, why)
			continue
		}
		found = append(found, localSnapshot{s.Name, s.Labels, o})
	}
	slices.SortStableFunc(found, func(a, b localSnapshot) int { return cmp.Compare(len(a.origins), len(b.origins)) })
	return found, nil
}

// distrust returns why this build must not use something with these origins; "" if it may.
func (store *Store) distrust(o origins) string {
	remotes := map[string]bool{}
	for _, from := range store.Settings.From {
		remotes[store.remoteName(from)] = true
	}
	for _, from := range o {
		switch {
		case !remotes[from.Remote]:
			return fmt.Sprintf("it comes from %s, which this build's --cache-from does not name", from.Remote)
		case from.NoTLS && !store.Settings.SkipTLSVerify:
			return fmt.Sprintf("it comes from %s, whose TLS certificate was not verified (--no-tls-verify)",
				from.Remote)
		}
		if why := store.Settings.Key.check(from.Image, from.Signature); why != "" {
			return fmt.Sprintf("it comes from %s and %s", from.Remote, why)
		}
	}
	return ""
}

// unused tells, once, of a snapshot that would fit and is not used.
func (store *Store) unused(title, why string) {
	text := fmt.Sprintf("not used: %s: %s", title, why)
	if store.reported[text] {
		return
	}
	if store.reported == nil {
		store.reported = map[string]bool{}
	}
	store.reported[text] = true
	store.Log.Info("a snapshot is not used", slog.String("step", title), slog.String("because", why))
	store.report(text)
}

// remoteName returns the name of a remote in origins.
func (store *Store) remoteName(r Remote) string {
	if r.Transport == transport.OCI && !filepath.IsAbs(r.Path) {
		r.Path = filepath.Join(store.Dir, r.Path)
	}
	return r.String()
}

// origin returns the origin for an image of a remote.
func (store *Store) origin(from Remote, name string, image types.RemoteImage) origin {
	return origin{
		Remote: store.remoteName(from), NoTLS: store.Settings.SkipTLSVerify && from.Transport == transport.Docker,
		Image: imageDigest(name, image), Signature: signatureOf(image),
	}
}
