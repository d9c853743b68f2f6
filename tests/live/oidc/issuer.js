// An OAuth server for the live tests: oidc-provider on the port in its second
// argument, with the keys in its first: a JSON list of {file, kid, alg}.
// The resource that a client names says what its tokens are:
// https://api.example/ALG, or https://api.example/opaque.  A third argument
// names a JSON list of more clients: {client_id, auth, secret} or {client_id,
// auth, file, alg} with the file of a private key.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [keys, port, more] = process.argv.slice(2);
const jwks = {
    keys: JSON.parse(readFileSync(keys)).map(({ file, kid, alg }) => ({
        ...createPrivateKey(readFileSync(file)).export({ format: 'jwk' }),
        kid, alg, use: 'sig',
    })),
};

const clients = (more ? JSON.parse(readFileSync(more)) : []).map(
    ({ client_id, auth, secret, file, alg }) => ({
        client_id,
        client_secret: secret,
        token_endpoint_auth_method: auth,
        token_endpoint_auth_signing_alg: alg,
        id_token_signed_response_alg: 'ES256',
        jwks: file && { keys: [{
            ...createPublicKey(createPrivateKey(readFileSync(file)))
                .export({ format: 'jwk' }), alg, kid: client_id, use: 'sig',
        }] },
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
    }));

const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
    jwks,
    clients: [...clients, {
        client_id: 'channel',
        client_secret: 'channel-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
    }, {
        client_id: 'gateway',
        client_secret: 'gateway-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
    }],
    enabledJWA: {
        dPoPSigningAlgValues: ['ES256', 'EdDSA'],
    },
    features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        dPoP: { enabled: true },
        introspection: {
            enabled: true,
            allowedPolicy: (ctx, client) => client.clientId === 'gateway',
        },
        revocation: { enabled: true },
        resourceIndicators: {
            enabled: true,
            getResourceServerInfo: (ctx, resource) => {
                const kind = resource.split('/').pop();
                return {
                    scope: 'stock:read orders:write',
                    audience: resource,
                    accessTokenTTL: 300,
                    accessTokenFormat: kind === 'opaque' ? 'opaque' : 'jwt',
                    jwt: kind === 'opaque' ? undefined
                                           : { sign: { alg: kind } },
                };
            },
        },
    },
});

provider.listen(Number(port), '127.0.0.1');
