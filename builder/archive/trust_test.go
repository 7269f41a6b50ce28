// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func day(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return t
}

// signedBy returns a client that treats the archive's key as one of a role and a release.
func signedBy(t *testing.T, repo *archivetest.Repository, r role, release string) *Client {
	t.Helper()
	c := newClient(t, repo)
	c.signers = append(slices.Clone(defaultSigners), signer{fmt.Sprintf("%X", repo.Keyring()[0].PrimaryKey.Fingerprint),
		r, release})
	return c
}

// Issue 12, B10: 15 of Debian's 24 removed keys were trusted for every suite.
func TestKeySignsOnlySuitesOfItsRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		role           role
		release, suite string
		good           bool
	}{
		{automatic, "trixie", "trixie", true},
		{automatic, "trixie", "bookworm", true}, // the archive signs old suites with new keys, too
		{automatic, "trixie", "wheezy", true},
		{automatic, "bookworm", "trixie", true},
		{automatic, "bookworm", "sid", true},
		{automatic, "bookworm", "forky", true},
		{automatic, "bookworm", "trixie-updates", true},
		{automatic, "trixie", "rc-buggy", true},
		{automatic, "jessie", "wheezy", true},
		{automatic, "squeeze", "wheezy", true},
		{stable, "trixie", "trixie", true},
		{security, "bookworm", "trixie-security", true},
		{security, "buster", "buster/updates", true},
		{automatic, "wheezy", "wheezy/updates", true},

		{automatic, "bullseye", "trixie", false},
		{automatic, "bullseye", "sid", false},
		{automatic, "bullseye", "forky", false},
		{automatic, "buster", "trixie", false},
		{automatic, "lenny", "trixie", false},
		{automatic, "lenny", "sid", false},
		{automatic, "wheezy", "stretch", false},
		{automatic, "wheezy", "a-name-that-is-in-no-table", false},
		{stable, "bookworm", "trixie", false},
		{stable, "trixie", "bookworm", false},
		{stable, "trixie", "trixie-backports", false},
		{stable, "trixie", "sid", false},
		{security, "trixie", "trixie", false},
		{security, "trixie", "sid", false},
		{automatic, "trixie", "trixie-security", false},
		{retired, "lenny", "lenny", false},

		{ubuntu, "Ubuntu", "noble", true},
		{ubuntu, "Ubuntu", "noble-security", true},
		{ubuntu, "Ubuntu", "trixie", false},
		{ubuntu, "Ubuntu", "sid", false},
		{ubuntu, "Ubuntu", "trixie-security", false},
		{automatic, "trixie", "noble", false},
		{automatic, "trixie", "noble-updates", false},
		{retired, "Ubuntu's images", "noble", false},
	} {
		repo := archivetest.NewRepository(t, tt.suite)
		c := signedBy(t, repo, tt.role, tt.release)
		r, err := c.Release(t.Context(), repo.URL(), tt.suite)
		untrusted, ok := errors.AsType[*UntrustedError](err)
		if tt.good && err != nil ||
			!tt.good && (!ok || untrusted.Bad == nil || !strings.Contains(err.Error(), tt.release)) {
			t.Errorf("%+v: got %v", tt, err)
		}
		if tt.good {
			var keyring bytes.Buffer
			if err := r.WriteKeyring(&keyring); err != nil {
				t.Fatal(err)
			}
			if keys, err := ReadKeyring(&keyring); err != nil || len(keys) != 1 {
				t.Errorf("%+v: the keyring for debootstrap has %d keys, %v", tt, len(keys), err)
			}
		}
		c.UserKeyring = true
		if _, err := c.Release(t.Context(), repo.URL(), tt.suite); err != nil {
			t.Errorf("%+v: from a user's keyring: %v", tt, err)
		}
	}
}

// An old key may sign neither a new release's name with an old codename, nor the suite of an alias.
func TestOldKeySignsNoAlias(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "lenny")
	repo.Alias("stable", "lenny")
	repo.Alias("trixie", "lenny") // "Suite: trixie", "Codename: lenny"
	repo.NewKey(day("2009-01-27"), day("2012-12-31").Sub(day("2009-01-27")))
	repo.Configure(archivetest.Options{Date: day("2011-01-01")})
	c := signedBy(t, repo, automatic, "lenny")
	c.Now = day("2026-01-01")
	if _, err := c.Release(t.Context(), repo.URL(), "lenny"); err != nil {
		t.Errorf("by its own name: %v", err)
	}
	for _, name := range []string{"stable", "trixie"} {
		if r, err := c.Release(t.Context(), repo.URL(), name); err == nil {
			t.Errorf("as %s: got %+v", name, r)
		}
	}
}

// Issue 12, B10: a key that expired in 2012 signed a Release of 2026, "dated 2011".
func TestSignatureTimeFitsDateOfFile(t *testing.T) {
	t.Parallel()
	made, life := day("2009-01-27"), day("2012-12-31").Sub(day("2009-01-27"))
	now := day("2026-01-01")
	for name, tt := range map[string]struct {
		date, signed time.Time
		good         bool
	}{
		"today, dated 2011":       {now, day("2011-01-01"), false},
		"2011":                    {day("2011-01-01"), day("2011-01-01"), true},
		"signed after the end":    {day("2013-01-01"), day("2013-01-01"), false},
		"signed before the birth": {day("2009-01-01"), day("2009-01-01"), false},
		"a week late":             {day("2011-01-01"), day("2011-01-08"), true},
		"eight days late":         {day("2011-01-01"), day("2011-01-09"), false},
		"a day early":             {day("2011-01-02"), day("2011-01-01"), true},
		"two days early":          {day("2011-01-03"), day("2011-01-01"), false},
	} {
		for _, detached := range []bool{false, true} {
			repo := archivetest.NewRepository(t)
			repo.NewKey(made, life)
			repo.Configure(archivetest.Options{Date: tt.date, SignedAt: tt.signed, Detached: detached})
			c := newClient(t, repo)
			c.Now, c.UserKeyring = now, true // a user's keyring does not disable the check
			_, err := c.Release(t.Context(), repo.URL(), "trixie")
			_, untrusted := errors.AsType[*UntrustedError](err)
			if tt.good && err != nil || !tt.good && !untrusted {
				t.Errorf("%s, detached %v: got %v", name, detached, err)
			}
		}
	}
}

func TestSignatureFromFutureIsRejected(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Configure(archivetest.Options{Date: day("2025-06-01")})
	c := newClient(t, repo)
	c.Now = day("2025-05-31")
	getRelease(t, c, repo, "trixie") // a clock may be a day slow
	c.Now = day("2025-05-30")
	if _, err := c.Release(t.Context(), repo.URL(), "trixie"); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("got %v", err)
	}
	release, _ := repo.Get("dists/trixie/InRelease")
	repo.Replace("dists/trixie/InRelease", release)
	c.NoCheck = true
	getRelease(t, c, repo, "trixie")
}

// Issue 12, B10: a mirror that served another suite's signed files caused only a line in the log.
func TestReleaseOfAnotherSuiteIsRejected(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "bookworm", "trixie", "sid", "trixie-updates", "buster/updates")
	for alias, codename := range map[string]string{"oldstable": "bookworm", "stable": "trixie", "unstable": "sid",
		"stable-updates": "trixie-updates"} {
		repo.Alias(alias, codename)
	}
	c := newClient(t, repo)
	for _, name := range []string{"bookworm", "oldstable", "trixie", "stable", "sid", "unstable", "trixie-updates",
		"stable-updates", "buster/updates"} {
		getRelease(t, c, repo, name)
	}
	for asked, answer := range map[string]string{"trixie": "bookworm", "stable": "oldstable",
		"trixie-updates": "trixie", "new": "trixie"} {
		file, _ := repo.Get("dists/" + answer + "/InRelease")
		repo.Replace("dists/"+asked+"/InRelease", file)
		for _, c.NoCheck = range []bool{false, true} {
			_, err := c.Release(t.Context(), repo.URL(), asked)
			wrong, ok := errors.AsType[*SuiteError](err)
			if !ok || wrong.Asked != asked || !strings.Contains(err.Error(), wrong.Codename) ||
				!strings.Contains(err.Error(), repo.URL()) {
				t.Errorf("%s is %s, unchecked %v: got %v", asked, answer, c.NoCheck, err)
			}
		}
	}
}

func TestEachDefaultKeyHasRelease(t *testing.T) {
	t.Parallel()
	for _, key := range DefaultKeyring() {
		fingerprint := fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)
		i := slices.IndexFunc(defaultSigners, func(s signer) bool { return s.fingerprint == fingerprint })
		if i < 0 {
			t.Errorf("the table has no key %s", fingerprint)
			continue
		}
		s := defaultSigners[i]
		if slices.Contains(ubuntuSigners, s) {
			continue
		}
		if !slices.Contains(debianReleases, s.release) {
			t.Errorf("%s: unknown release %s", fingerprint, s.release)
		}
		for name := range key.Identities {
			isSecurity, isStable := strings.Contains(name, "Security"), strings.Contains(name, "Stable")
			if isSecurity != (s.role == security) || isStable != (s.role == stable) ||
				s.role != retired && !strings.Contains(strings.ToLower(name), s.release) {
				t.Errorf("%s is %q, but the table says %+v", fingerprint, name, s)
			}
		}
	}
}

// debootstrap runs gpgv, which must be able to read the keyring of WriteKeyring.
func TestGpgvReadsKeyringOfRelease(t *testing.T) {
	t.Parallel()
	gpgv := diskimagetest.Tool(t, "gpgv")
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	c.Keyring = append(DefaultKeyring(), repo.Keyring()...)
	r := getRelease(t, c, repo, "trixie")
	var keyring bytes.Buffer
	if err := r.WriteKeyring(&keyring); err != nil {
		t.Fatal(err)
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(keyring.Bytes()))
	if err != nil || len(keys) != 4 { // the archive's own, both automatic ones and trixie's stable one
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	dir := t.TempDir()
	inRelease, _ := repo.Get("dists/trixie/InRelease")
	names := []string{filepath.Join(dir, "keyring.gpg"), filepath.Join(dir, "InRelease")}
	if err := errors.Join(os.WriteFile(names[0], keyring.Bytes(), 0o644),
		os.WriteFile(names[1], inRelease, 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gpgv, "--homedir", dir, "--keyring", names[0], names[1]).CombinedOutput(); err != nil {
		t.Errorf("gpgv: %v\n%s", err, out)
	}
}
