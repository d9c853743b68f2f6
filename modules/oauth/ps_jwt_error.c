
#include "ps_jwt_error.h"


#define PS_MALFORMED  "The access token is malformed"
#define PS_UNTRUSTED  "The access token's signature is not valid"


/* the order is that of ps_jwt_error_e */

static const struct {
    const char  *log;
    const char  *description;
} ps_jwt_errors[] = {

    { "", "" },

    { "the credentials are malformed",
      "The bearer credentials are malformed" },

    { "the token is too large", "The access token is too large" },
    { "the token doesn't have three parts", PS_MALFORMED },
    { "a part of the token is not base64url", PS_MALFORMED },
    { "the header is not a JSON object of unique names", PS_MALFORMED },
    { "the header has \"crit\"", PS_MALFORMED },
    { "the header has \"b64\"", PS_MALFORMED },
    { "the algorithm is not supported",
      "The access token's algorithm is not accepted" },
    { "\"kid\" or \"typ\" is not a string", PS_MALFORMED },

    { "the issuer's keys could not be fetched",
      "The token can't be verified at the moment" },
    { "the token could not be introspected",
      "The token can't be verified at the moment" },
    { "the token is not active", "The access token is not active" },
    { "no key fits \"alg\" and \"kid\"", PS_UNTRUSTED },
    { "more keys fit than are tried: \"kid\" is needed", PS_UNTRUSTED },
    { "the signature doesn't match", PS_UNTRUSTED },

    { "the payload is not a JSON object of unique names", PS_MALFORMED },
    { "a registered claim has a wrong type or an absurd value",
      PS_MALFORMED },
    { "\"iss\" is not a configured issuer",
      "The access token's issuer is not accepted" },
    { "\"aud\" doesn't name this resource",
      "The access token is not meant for this resource" },
    { "\"typ\" is not that of an access token",
      "The token is not an access token" },
    { "\"exp\" is missing", "The access token has no expiry" },
    { "the token expired", "The access token expired" },
    { "\"nbf\" is in the future", "The access token is not valid yet" },
    { "a claim required of an access token is missing",
      "The access token lacks a required claim" },
    { "the token is bound to a key and possession is not checked",
      "The access token is bound to a key" },
    { "the token is revoked", "The access token is revoked" },
    { "revocations could not be read",
      "The token can't be verified at the moment" },
    { "a value of \"auth_jwt_require\" is empty or 0",
      "The access token lacks a required claim" },

    { "no memory", "" }
};


_Static_assert(sizeof(ps_jwt_errors) / sizeof(ps_jwt_errors[0])
               == PS_JWT_ERRORS, "a text for each reason");


const char *
ps_jwt_error_log(ps_jwt_error_e error)
{
    return ps_jwt_errors[error < PS_JWT_ERRORS ? error : 0].log;
}


const char *
ps_jwt_error_description(ps_jwt_error_e error)
{
    return ps_jwt_errors[error < PS_JWT_ERRORS ? error : 0].description;
}
