// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 12, B12: these 65 bytes were a panic in go-crypto 1.1.6, before any signature was checked.
const clearsignPanic = "-----BEGIN PGP SIGNED MESSAGE-----\n\n-----BEGIN PGP SIGNATURE-----"

func TestMalformedSignatureIsAnError(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"with an end": clearsignPanic + "\n-----END PGP SIGNATURE-----\n",
		"no begin":    "Codename: trixie\n",
	} {
		repo := archivetest.NewRepository(t)
		repo.Replace("dists/trixie/InRelease", []byte(data))
		_, err := newClient(t, repo).Release(t.Context(), repo.URL(), "trixie")
		untrusted, ok := errors.AsType[*UntrustedError](err)
		if !ok || untrusted.URL != repo.URL()+"/dists/trixie/InRelease" {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, untrusted.URL) || strings.Contains(text, "\n") {
			t.Errorf("%s: the error is not one sentence with the URL: %q", name, text)
		}
	}
}

func TestVerifyRejectsWhatIsCut(t *testing.T) {
	t.Parallel()
	for _, data := range []string{clearsignPanic, "", "-----BEGIN PGP SIGNED MESSAGE-----\n"} {
		_, _, err := verifyInline("u", []byte(data), nil, true)
		if _, ok := errors.AsType[*UntrustedError](err); !ok {
			t.Errorf("%q: got %v", data, err)
		}
	}
}
