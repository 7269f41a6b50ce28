// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

// Release is the content of a suite's Release file.
type Release struct {
	// Mirror and Name are what the caller asked for: the mirror's URL without a trailing slash, and the suite's name.
	Mirror, Name string
	Origin       string // "Debian"
	Label        string
	Suite        string // "stable"
	Codename     string // "trixie"
	Version      string // "13.1"; "" for testing and sid
	Date         time.Time
	ValidUntil   time.Time // zero if it does not expire
	// NotAutomatic says that apt takes packages from the suite only if asked to, as from backports.
	NotAutomatic bool
	// Architectures may have "all" among them; Components are like "main".
	Architectures, Components []string
	// Files are the files below dists/SUITE, by their paths there.
	Files map[string]File
	// Digest is the SHA256 of the InRelease file (of Release where there is no InRelease), in hexadecimal. It changes
	// whenever anything in the suite does.
	Digest string

	received    []receivedFile     // the Release file and its signature, byte for byte
	signedBy    []string           // fingerprints of the keys with good signatures
	signers     openpgp.EntityList // the keys that may sign the suite; empty with Client.NoCheck
	byHash      bool               // files are also served under their digests
	separateAll bool               // packages of architecture "all" have an index of their own
}

// receivedFile is a file below dists/SUITE with its content.
type receivedFile struct {
	name, digest string
	data         []byte
}

// File is an entry of a Release file.
type File struct {
	Size   int64
	SHA256 string // in hexadecimal
}

// ExpiredError says that a Release file is past its Valid-Until, for example because the mirror is no longer updated.
type ExpiredError struct {
	URL               string
	ValidUntil, Today time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("verify %s: it expired on %s, and today is %s", Redact(e.URL), e.ValidUntil.Format(time.RFC1123),
		e.Today.UTC().Format(time.RFC1123))
}

// LaterError says that a snapshot archive has answered with a Release file that is later than the time asked for.
type LaterError struct {
	URL            string
	Date, Snapshot time.Time
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%s is of %s, after the time of the snapshot, %s: the server is no snapshot archive", Redact(e.URL),
		e.Date.Format(time.RFC1123), e.Snapshot.UTC().Format(time.RFC1123))
}

// Release fetches and verifies the Release file of a suite, named by its codename or an alias of the mirror.
// The error wraps fs.ErrNotExist if the archive does not have the suite.
func (c *Client) Release(ctx context.Context, mirror, suite string) (*Release, error) {
	mirror = mirrorURL(mirror)
	if c.States.isFixed() {
		return c.lockedRelease(ctx, mirror, suite)
	}
	var r *Release
	err := c.askMirrors(ctx, mirror+"/dists/"+suite, func(dist string) (err error) {
		r, err = c.release(ctx, mirror, suite, dist)
		return err
	})
	if err != nil || c.States == nil {
		return r, err
	}
	for _, f := range r.received {
		if err := c.Cache.put(f.digest, f.data); err != nil {
			return nil, err
		}
	}
	c.States.record(r)
	return r, nil
}

// release is Release with the URL of the directory of the suite, which may be on another mirror.
func (c *Client) release(ctx context.Context, mirror, suite, dist string) (*Release, error) {
	url := dist + "/" + inRelease
	data, err := c.getRelease(ctx, url)
	if errors.Is(err, fs.ErrNotExist) {
		return c.detachedRelease(ctx, mirror, suite, dist)
	}
	if err != nil {
		return nil, err
	}
	return c.readRelease(mirror, suite, url, []receivedFile{{inRelease, digestOf(data), data}})
}

// detachedRelease is Release for an archive that signs in a separate file, Release.gpg.
func (c *Client) detachedRelease(ctx context.Context, mirror, suite, dist string) (*Release, error) {
	url := dist + "/Release"
	data, err := c.getRelease(ctx, url)
	if err != nil {
		return nil, err
	}
	received := []receivedFile{{"Release", digestOf(data), data}}
	if !c.NoCheck {
		signature, err := c.getRelease(ctx, url+".gpg")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &UntrustedError{URL: url}
		}
		if err != nil {
			return nil, err
		}
		received = append(received, receivedFile{"Release.gpg", digestOf(signature), signature})
	}
	return c.readRelease(mirror, suite, url, received)
}

// readRelease verifies and reads InRelease, or Release and its signature. url is that of the first file.
func (c *Client) readRelease(mirror, suite, url string, received []receivedFile) (*Release, error) {
	data, text := received[0].data, received[0].data
	var signers []goodSignature
	var err error
	switch {
	case received[0].name == inRelease:
		text, signers, err = verifyInline(url, data, c.Keyring, !c.NoCheck)
	case !c.NoCheck && len(received) == 1:
		err = &UntrustedError{URL: url}
	case !c.NoCheck:
		signers, err = verifyDetached(url, data, received[1].data, c.Keyring)
	}
	if err != nil {
		return nil, err
	}
	r, err := c.newRelease(mirror, suite, url, data, text, signers)
	if err != nil {
		return nil, err
	}
	r.received = received
	for _, s := range signers {
		r.signedBy = append(r.signedBy, fmt.Sprintf("%X", s.key.PrimaryKey.Fingerprint))
	}
	return r, nil
}

// inRelease is the file that has its signature in it.
const inRelease = "InRelease"

// digestOf returns a SHA256 digest in hexadecimal.
func digestOf(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// newRelease parses the text of a Release file and checks that its signers may sign the suite it names.
func (c *Client) newRelease(mirror, suite, url string, data, text []byte, signers []goodSignature) (*Release, error) {
	var r *Release
	err := guard.Parse(func() (err error) {
		r, err = parseRelease(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Redact(url), err)
	}
	r.Mirror, r.Name = mirror, suite
	r.Digest = digestOf(data)
	if err := r.checkSuite(url); err != nil {
		return nil, err
	}
	if !c.Snapshot.IsZero() && r.Date.After(c.Snapshot) {
		return nil, &LaterError{url, r.Date, c.Snapshot}
	}
	if !c.NoCheck {
		if err := c.checkSigners(url, r, signers); err != nil {
			return nil, err
		}
		r.signers = slices.DeleteFunc(slices.Clone(c.Keyring),
			func(key *openpgp.Entity) bool { return c.mayKeySign(key, r) != nil })
	}
	today := c.Now
	for _, other := range []time.Time{c.Today, c.Snapshot} {
		if !other.IsZero() {
			today = other
		}
	}
	// Whether the state of a lock may have expired was decided when the lock was made, perhaps by another machine.
	if !c.NoCheck && !c.AllowExpired && !c.States.isFixed() && r.ExpiredAt(today) {
		return nil, &ExpiredError{url, r.ValidUntil, today}
	}
	return r, nil
}

// ExpiredAt reports whether the file is past its Valid-Until at a time. At the zero time it never is.
func (r *Release) ExpiredAt(now time.Time) bool {
	return !now.IsZero() && !r.ValidUntil.IsZero() && now.After(r.ValidUntil)
}

// WriteKeyring writes the keys that may sign the suite, in the binary form that gpgv reads. It writes nothing if the
// signature was not checked.
func (r *Release) WriteKeyring(w io.Writer) error {
	for _, key := range r.signers {
		if err := key.Serialize(w); err != nil {
			return fmt.Errorf("write key %016X: %w", key.PrimaryKey.KeyId, err)
		}
	}
	return nil
}

// parseRelease reads the text of a Release file.
func parseRelease(text []byte) (*Release, error) {
	stanzas, err := ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(stanzas) != 1 {
		return nil, fmt.Errorf("%d stanzas instead of one", len(stanzas))
	}
	s := stanzas[0]
	r := &Release{
		Origin: s.Get("Origin"), Label: s.Get("Label"), Suite: s.Get("Suite"), Codename: s.Get("Codename"),
		Version:       s.Get("Version"),
		NotAutomatic:  s.Get("NotAutomatic") == "yes",
		Architectures: strings.Fields(s.Get("Architectures")),
		Components:    strings.Fields(s.Get("Components")),
		Files:         map[string]File{},
		byHash:        s.Get("Acquire-By-Hash") == "yes",
	}
	for _, name := range []string{r.Suite, r.Codename} {
		if name != "" && !validSuite(name) {
			return nil, fmt.Errorf("%q is not a suite name", clip([]byte(name)))
		}
	}
	// Debian's indexes for an architecture include the packages of architecture "all": the main archive announces that in
	// this field, the security archive by leaving "all" out of its architectures.
	r.separateAll = s.Get("No-Support-for-Architecture-all") == "" && slices.Contains(r.Architectures, "all")
	if r.Date, err = releaseTime(s.Get("Date")); err != nil {
		return nil, fmt.Errorf("date: %w", err)
	}
	if r.ValidUntil, err = releaseTime(s.Get("Valid-Until")); err != nil {
		return nil, fmt.Errorf("valid-until: %w", err)
	}
	for line := range strings.Lines(s.Get("SHA256")) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		const columns = 3 // digest, size, path
		if len(fields) != columns {
			return nil, fmt.Errorf("sha256: invalid entry %q", line)
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || size < 0 || !validDigest(fields[0]) || !validPath(strings.TrimPrefix(fields[2], "./")) {
			return nil, fmt.Errorf("sha256: invalid entry %q", line)
		}
		r.Files[fields[2]] = File{Size: size, SHA256: fields[0]}
	}
	if len(r.Files) == 0 {
		return nil, errors.New("it has no SHA256 checksums")
	}
	return r, nil
}

// releaseTime parses a time of a Release file, which is in UTC: "Sat, 06 Sep 2025 09:49:36 UTC". "" is the zero time.
func releaseTime(value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse("Mon, _2 Jan 2006 15:04:05 MST", value)
	if err != nil {
		t, err = time.Parse("Mon, _2 Jan 2006 15:04:05 -0700", value)
	}
	return t.UTC(), err
}

// validDigest reports whether s is a SHA256 digest in lower-case hexadecimal, the form in names of cached files.
func validDigest(s string) bool {
	if len(s) != sha256.Size*2 {
		return false
	}
	for _, c := range []byte(s) {
		if !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
