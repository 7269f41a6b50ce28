// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

func TestDefaultKeyringHasKeysOfEachRelease(t *testing.T) {
	t.Parallel()
	have := map[string]string{}
	for _, e := range DefaultKeyring() {
		for name := range e.Identities {
			have[fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)] = name
		}
	}
	// Fingerprints as on Debian's page of archive keys.
	for release, fingerprint := range map[string]string{
		"7.0/wheezy":  "A1BD8E9D78F7FE5C3E65D8AF8B48AD6246925553",
		"8/jessie":    "126C0D24BD8A2942CC7DF8AC7638D0442B90D010",
		"9/stretch":   "E1CF20DDFFE4B89E802658F1E0B11894F66AEC98",
		"10/buster":   "80D15823B7FD1561F9F7BCDDDC30D7C23CBBABEE",
		"11/bullseye": "1F89983E0081FDE018F3CC9673A4F27B8DD47936",
		"12/bookworm": "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
		"13/trixie":   "04B54C3CDCA79751B16BC6B5225629DF75B188BD",

		"Ubuntu Archive Automatic Signing Key (2018)": "F6ECB3762474EDA9D21B7022871920D1991BC93C",
	} {
		if !strings.Contains(have[fingerprint], release) {
			t.Errorf("%s: the key %s is %q", release, fingerprint, have[fingerprint])
		}
	}
	for _, e := range DefaultKeyring() {
		if weak(e) {
			t.Errorf("%X is too weak", e.PrimaryKey.Fingerprint)
		}
	}
}

func TestReadKeyringReadsBothForms(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	binary, err := os.ReadFile(repo.KeyringFile())
	if err != nil {
		t.Fatal(err)
	}
	var armoured bytes.Buffer
	w, err := armor.Encode(&armoured, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"binary": binary, "armoured": armoured.Bytes()} {
		keys, err := ReadKeyring(bytes.NewReader(data))
		if err != nil || len(keys) != 1 || keys[0].PrimaryKey.KeyId != repo.Keyring()[0].PrimaryKey.KeyId {
			t.Errorf("%s: got %v, %v", name, keys, err)
		}
	}
}

func TestReadKeyringRejectsWeakKeys(t *testing.T) {
	t.Parallel()
	short, err := openpgp.NewEntity("short", "", "", &packet.Config{RSABits: 1024})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := short.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("not a keyring"), "short key": b.Bytes()} {
		if keys, err := ReadKeyring(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: got %d keys", name, len(keys))
		}
	}
}
