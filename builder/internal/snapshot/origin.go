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

// Who can write to a place of --cache-from decides what is in the snapshots that come from there. So each of them, and
// each that was made above one, says in its labels where it comes from, and its name ends in a digest of that: a build
// that asks for its own work never gets somebody else's by mistake, and others are found only by builds that name all
// places themselves.

// origin is an image of a place of --cache-from that something in the store rests on.
type origin struct {
	// Place is that of --cache-from, with an absolute path if it is a directory.
	Place string `json:"place"`
	// NoTLS says that the registry did not have to prove who it is.
	NoTLS bool `json:"noTLS,omitempty"`
	// Image identifies the image; Signature, if it has one, is over that.
	Image     Digest `json:"image"`
	Signature []byte `json:"signature,omitempty"`
}

// origins are sorted, and each is there once.
type origins []origin

// labelOrigins holds the origins of a snapshot, as JSON. One that this machine has made all of has none.
const labelOrigins = "origins"

// fromPlaces stands in the name of a snapshot before the digest of its origins.
const fromPlaces = "-from-"

// with adds origins.
func (o origins) with(more ...origin) origins {
	all := append(slices.Clone(o), more...)
	order := func(a, b origin) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Image, b.Image),
			slices.Compare(a.Signature, b.Signature))
	}
	slices.SortFunc(all, order)
	return slices.CompactFunc(all, func(a, b origin) bool { return order(a, b) == 0 && a.NoTLS == b.NoTLS })
}

// mark gives the name and the labels of a snapshot with these origins.
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

// originsSuffix is the end of a name. 128 bits: the places choose what is hashed.
func originsSuffix(label string) string {
	sum := sha256.Sum256([]byte(label))
	return fromPlaces + hex.EncodeToString(sum[:sha256.Size/2])
}

// ownName is the name that a snapshot has if nothing of it comes from elsewhere.
func ownName(name string) string {
	own, _, _ := strings.Cut(name, fromPlaces)
	return own
}

// originsOf reads the origins of a snapshot of the store, which its name vouches for.
func originsOf(name string, labels map[string]string) (origins, error) {
	own, text := ownName(name), labels[labelOrigins]
	if own == name {
		return nil, nil
	}
	var o origins
	if err := json.Unmarshal([]byte(text), &o); err != nil || own+originsSuffix(text) != name {
		return nil, fmt.Errorf("%s does not tell where it comes from", name)
	}
	return o, nil
}

// localSnapshot is a snapshot of the store that a build may use.
type localSnapshot struct {
	name    string
	labels  map[string]string
	origins origins
}

// local gives the snapshots of the store that have that name but for their origins and that this build may use. What
// comes from elsewhere is behind this machine's own. title is what people read of the snapshot.
func (store *Store) local(name, title string) ([]localSnapshot, error) {
	var found []localSnapshot
	all, err := store.Engine.Snapshots()
	if err != nil {
		return nil, err
	}
	for _, s := range all { // the last used first
		if ownName(s.Name) != name {
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

// distrust says why this build does not use what has these origins; "" if it may.
func (store *Store) distrust(o origins) string {
	places := map[string]bool{}
	for _, from := range store.Settings.From {
		places[store.place(from)] = true
	}
	for _, from := range o {
		switch {
		case !places[from.Place]:
			return fmt.Sprintf("it comes from %s, which this build's --cache-from does not name", from.Place)
		case from.NoTLS && !store.Settings.SkipTLSVerify:
			return fmt.Sprintf("it comes from %s, which did not have to prove who it is (--no-tls-verify)", from.Place)
		}
		if why := store.Settings.Key.check(from.Image, from.Signature); why != "" {
			return fmt.Sprintf("it comes from %s and %s", from.Place, why)
		}
	}
	return ""
}

// unused tells, once, of a snapshot that would fit and is not used.
func (store *Store) unused(title, why string) {
	text := fmt.Sprintf("not used: %s: %s", title, why)
	if store.told[text] {
		return
	}
	if store.told == nil {
		store.told = map[string]bool{}
	}
	store.told[text] = true
	store.Log.Info("a snapshot is not used", slog.String("step", title), slog.String("because", why))
	store.tell(text)
}

// place is what a place of --cache-from is called in origins.
func (store *Store) place(r Remote) string {
	if r.Transport == transport.OCI && !filepath.IsAbs(r.Path) {
		r.Path = filepath.Join(store.Dir, r.Path)
	}
	return r.String()
}

// origin is that of an image of a place.
func (store *Store) origin(from Remote, name string, image types.RemoteImage) origin {
	return origin{
		Place: store.place(from), NoTLS: store.Settings.SkipTLSVerify && from.Transport == transport.Docker,
		Image: imageDigest(name, image), Signature: signatureOf(image),
	}
}
