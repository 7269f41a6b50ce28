// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// secureBootSettings are the files with the key and the certificate of Secure Boot.
type secureBootSettings struct{ key, cert string }

// readSecureBoot reads the files. After an error it leaves both options empty, so that the rules of the build say
// nothing about the other one.
func (s *settings) readSecureBoot() error {
	read := func(flag, name string) (string, error) {
		if name == "" {
			return "", nil
		}
		data, err := os.ReadFile(absolute(s.secrets.dir, name))
		if err == nil && len(data) == 0 {
			err = errors.New(name + " is empty")
		}
		if err != nil {
			return "", &builder.Problem{Flag: flag, Err: err}
		}
		return string(data), nil
	}
	key, keyErr := read("--secureboot-key", s.secureBoot.key)
	cert, certErr := read("--secureboot-cert", s.secureBoot.cert)
	if err := errors.Join(keyErr, certErr); err != nil {
		return err
	}
	s.options.SecureBootKey, s.options.SecureBootCert = builder.NewSecret(key), cert
	return nil
}
