
/*
 * What the scripts of a zone begin with.
 *
 * KEYS[1] is the zone's hash, whose "clock" is the last time that was given
 * out.  "now" is a later one.
 *
 * times(key, ms) gives the last invalidation of a tag, or of the zone by its
 * epoch, as three times, each 0 for none: of any kind but soft, hard, soft.
 * The value is 16 digits, or the three, of 16 digits each, with commas.  What
 * is neither, or in the future, such as another program's "SET ... x", is an
 * invalidation of now, and is written as such for "ms" (0: for ever): else it
 * would void all that is filled later.  "now" is always later than these.
 *
 * text(n) is such a time in 16 digits.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_LUA_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_LUA_H_INCLUDED_


#define NGX_HTTP_PENSTOCK_AV_LUA                                              \
    "local function time(v)\n"                                                \
    "return type(v)=='string' and #v==16 and not v:find('%D')\n"              \
    "and tonumber(v)\n"                                                       \
    "end\n"                                                                   \
    "local function text(n) return string.format('%016.0f',n) end\n"          \
    "local t=redis.call('TIME')\n"                                            \
    "local now=t[1]*1000000+t[2]\n"                                           \
    "local clock=time(redis.call('HGET',KEYS[1],'clock')) or 0\n"             \
    "if now<=clock then now=clock+1 end\n"                                    \
    "local function set(k,v,ms)\n"                                            \
    "if ms=='0' then redis.call('SET',k,v)\n"                                 \
    "else redis.call('SET',k,v,'PX',ms) end\n"                                \
    "end\n"                                                                   \
    "local function times(k,ms)\n"                                            \
    "local v=redis.pcall('GET',k)\n"                                          \
    "if not v then return 0,0,0 end\n"                                        \
    "local a,h,s=time(v),0,0\n"                                               \
    "if not a and type(v)=='string' and #v==50 then\n"                        \
    "local x,y,z=v:match('^(%d+),(%d+),(%d+)$')\n"                            \
    "a,h,s=time(x),time(y),time(z)\n"                                         \
    "end\n"                                                                   \
    "if not (a and h and s and a<now and h<now and s<now) then\n"             \
    "a,h,s=now,0,0\n"                                                         \
    "now=now+1\n"                                                             \
    "set(k,text(a),ms)\n"                                                     \
    "end\n"                                                                   \
    "return a,h,s\n"                                                          \
    "end\n"


#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_LUA_H_INCLUDED_ */
