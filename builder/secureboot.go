// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/uki"
)

// secureBootSigner returns what signs the EFI programs of the image, nil if nothing does.
func secureBootSigner(o Options) (*uki.Signer, []error) {
	if o.SecureBootKey.IsZero() || o.SecureBootCert == "" {
		return nil, nil
	}
	key, err := uki.ParseKey([]byte(o.SecureBootKey.Reveal()))
	if err != nil {
		return nil, problem.New("--secureboot-key", "%w", err)
	}
	signer, err := uki.NewSigner(key, []byte(o.SecureBootCert))
	if err != nil {
		return nil, problem.New("--secureboot-cert", "%w", err)
	}
	return signer, nil
}

// secureBootPossible: there are a key and its certificate, and EFI programs that can be signed.
func secureBootPossible(s Spec) []error {
	const flag = "--secureboot-key"
	hasKey, hasCert := !s.o.SecureBootKey.IsZero(), s.o.SecureBootCert != ""
	switch {
	case !hasKey && !hasCert:
		return nil
	case !hasCert:
		return problem.New(flag, "needs --secureboot-cert as well, the certificate of the key")
	case !hasKey:
		return problem.New("--secureboot-cert", "needs --secureboot-key as well, the private key of the certificate")
	case s.o.Image == "":
		return problem.New(flag, "needs --image as well")
	}
	_, problems := secureBootSigner(s.o)
	if _, ok := s.loader.(boot.SystemdBoot); !ok {
		problems = append(problems, problem.New(flag, "%s is not signed with a key of yours: use --boot=%s with "+
			"--part-type=gpt; --boot=%s has the signatures of Debian", s.loader, boot.WordSystemdBoot, boot.WordHybrid)...)
	}
	return problems
}
