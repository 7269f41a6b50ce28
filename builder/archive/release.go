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

// Release is what a suite's Release file says.
type Release struct {
	// Mirror and Name are what it was asked for by: the mirror's URL without a slash at its end, and the suite's name.
	Mirror, Name string
	Origin       string // "Debian"
	Label        string
	Suite        string // "stable"
	Codename     string // "trixie"
	Version      string // "13.1"; "" for testing and sid
	Date         time.Time
	ValidUntil   time.Time // zero if it does not expire
	// Architectures may have "all" among them; Components are like "main".
	Architectures, Components []string
	// Files are the files below dists/SUITE, by their path there.
	Files map[string]File
	// Digest is the SHA256 of the InRelease file (or of Release, if there is no other), in hexadecimal: it changes
	// whenever anything in the suite does.
	Digest string

	signers     openpgp.EntityList // the keys that may sign the suite; empty if no signature was asked for
	byHash      bool               // files can be had by their digest too
	separateAll bool               // packages of architecture "all" have an index of their own
}

// File is an entry of a Release file.
type File struct {
	Size   int64
	SHA256 string // in hexadecimal
}

// ExpiredError says that a Release file is older than its archive promises, as those of a mirror are that is no
// longer updated.
type ExpiredError struct {
	URL        string
	ValidUntil time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("verify %s: it was valid until %s", Redact(e.URL), e.ValidUntil.Format(time.RFC1123))
}

// Release fetches and verifies the Release file of a suite, by its codename or any other name that the mirror has for
// it. If the archive does not have the suite, the error is an fs.ErrNotExist.
func (c *Client) Release(ctx context.Context, mirror, suite string) (*Release, error) {
	mirror = strings.TrimRight(mirror, "/")
	dist := mirror + "/dists/" + suite
	url := dist + "/InRelease"
	data, err := c.get(ctx, url)
	if errors.Is(err, fs.ErrNotExist) {
		return c.detachedRelease(ctx, mirror, suite)
	}
	if err != nil {
		return nil, fmt.Errorf("suite %q: %w", suite, err)
	}
	text, signers, err := verifyInline(url, data, c.Keyring, !c.NoCheck)
	if err != nil {
		return nil, err
	}
	return c.newRelease(mirror, suite, url, data, text, signers)
}

// detachedRelease does it for an archive whose signature is in a file of its own.
func (c *Client) detachedRelease(ctx context.Context, mirror, suite string) (*Release, error) {
	url := mirror + "/dists/" + suite + "/Release"
	data, err := c.get(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("suite %q: %w", suite, err)
	}
	var signers []voucher
	if !c.NoCheck {
		signature, err := c.get(ctx, url+".gpg")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &UntrustedError{URL: url}
		}
		if err != nil {
			return nil, fmt.Errorf("suite %q: %w", suite, err)
		}
		if signers, err = verifyDetached(url, data, signature, c.Keyring); err != nil {
			return nil, err
		}
	}
	return c.newRelease(mirror, suite, url, data, data, signers)
}

// newRelease reads the text of a Release file, and decides by what it says whether its signers are those of the suite.
func (c *Client) newRelease(mirror, suite, url string, data, text []byte, signers []voucher) (*Release, error) {
	var r *Release
	err := guard.Parse(func() (err error) {
		r, err = parseRelease(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Redact(url), err)
	}
	r.Mirror, r.Name = mirror, suite
	digest := sha256.Sum256(data)
	r.Digest = hex.EncodeToString(digest[:])
	if err := r.checkSuite(url); err != nil {
		return nil, err
	}
	if !c.NoCheck {
		if err := c.checkSigners(url, r, signers); err != nil {
			return nil, err
		}
		r.signers = slices.DeleteFunc(slices.Clone(c.Keyring),
			func(key *openpgp.Entity) bool { return c.mayKeySign(key, r) != nil })
	}
	if !c.NoCheck && !c.Now.IsZero() && !r.ValidUntil.IsZero() && c.Now.After(r.ValidUntil) {
		return nil, &ExpiredError{url, r.ValidUntil}
	}
	return r, nil
}

// WriteKeyring writes the keys that may sign the suite, in the binary form that gpgv reads. Without a check of the
// signature there are none.
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
		Architectures: strings.Fields(s.Get("Architectures")),
		Components:    strings.Fields(s.Get("Components")),
		Files:         map[string]File{},
		byHash:        s.Get("Acquire-By-Hash") == "yes",
	}
	// Debian's own indexes hold the packages for all architectures, and say so in this field.
	for _, name := range []string{r.Suite, r.Codename} {
		if name != "" && !validSuite(name) {
			return nil, fmt.Errorf("%q is no name of a suite", clip([]byte(name)))
		}
	}
	r.separateAll = s.Get("No-Support-for-Architecture-all") == ""
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
			return nil, fmt.Errorf("sha256: %q is no entry", line)
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || size < 0 || !validDigest(fields[0]) || !validPath(strings.TrimPrefix(fields[2], "./")) {
			return nil, fmt.Errorf("sha256: %q is no entry", line)
		}
		r.Files[fields[2]] = File{Size: size, SHA256: fields[0]}
	}
	if len(r.Files) == 0 {
		return nil, errors.New("it has no SHA256 checksums")
	}
	return r, nil
}

// releaseTime reads a time of a Release file, which is in UTC: "Sat, 06 Sep 2025 09:49:36 UTC". "" is the zero time.
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

// validDigest tells whether s is a SHA256 digest as the names of cached files have it.
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
